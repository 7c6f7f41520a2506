-- What scripts about groups go on with: how these are read and written.
--
-- The field h of a group's order, which is there if anything was ever saved, is the last Seq that
-- was saved; what all that was ever saved costs; and that of which it is known that the log has it
-- no more. The log's entries have the ID 'seq-cost', and the fields m: the first two of these
-- numbers as they were before it, and when it was created, in milliseconds; and p, the publication.
-- Numbers are doubles, big-endian: to write and read them as text would be most of what scripts do.
local now = 0
if ttl > 0 then
	local t = redis.call('TIME')
	now = t[1] * 1000 + math.floor(t[2] / 1000)
end

local function int(n) return string.format('%.0f', n) end

-- history returns what h says, the value of that field.
local function history(key, h)
	local g = {key = key, log = key .. 'log', saved = 0, total = 0, base = 0}
	if h then g.saved, g.total, g.base = struct.unpack('>ddd', h) end
	return g
end

-- open reads a group, or starts its order anew. epoch and seq are what somebody has seen of that.
local function open(key, epoch, seq)
	local fields, order, next, h = redis.call('HGETALL', key), '', 0, nil
	for i = 1, #fields, 2 do
		if fields[i] == 'h' then h = fields[i + 1] else order, next = fields[i], tonumber(fields[i + 1]) end
	end
	local g = history(key, h)
	g.epoch, g.next = string.sub(order, 1, 16), next
	if string.sub(order, 17) ~= run or g.epoch == epoch and next <= tonumber(seq) then
		-- There is no order, or perhaps only an older state of it: Redis lost what came since.
		g = history(key)
		g.epoch, g.next = ARGV[1], 1
		redis.call('DEL', key, g.log)
		redis.call('HSET', key, g.epoch .. run, g.next)
	end
	redis.call('PEXPIRE', key, retain)
	if ttl == 0 and g.total > g.base then redis.call('PEXPIRE', g.log, retain) end
	return g
end

-- oldest returns the ID of the log's oldest entry, what was saved last before it, and when it
-- was created; nothing if there is none.
local function oldest(g)
	local e = redis.call('XRANGE', g.log, '-', '+', 'COUNT', 1)[1]
	if not e then
		g.base = g.total -- it is empty; perhaps it has expired, or the engine let it go
		return
	end
	if e[2][1] ~= 'm' or #e[2][2] ~= 24 then -- which no broker wrote
		redis.call('XDEL', g.log, e[1])
		g.junk = true
		return oldest(g)
	end
	local saved, total, created = struct.unpack('>ddd', e[2][2])
	g.base = total
	return e[1], saved, created
end

-- fit removes the oldest until a message of that cost fits, but for maxlen.
local function fit(g, cost)
	while ttl > 0 or g.total + cost - g.base > maxbytes do
		local id, _, created = oldest(g)
		if not id or g.total + cost - g.base <= maxbytes and (ttl == 0 or created + ttl > now) then return end
		redis.call('XDEL', g.log, id)
		g.base = g.base + tonumber(string.match(id, '%d+$'))
	end
end

-- keep writes what is known of the history.
local function keep(g)
	if g.total > 0 then redis.call('HSET', g.key, 'h', struct.pack('>ddd', g.saved, g.total, g.base)) end
end
