#!lua
-- What all scripts about groups start with. ARGV: 1 an epoch, should a group need one; 2 to 4
-- the history's limits: bytes, messages, milliseconds; 5 how long a group is retained, in
-- milliseconds.
--
-- A group's order is its epoch, and 4 numbers: the last Seq; the last that was saved; what all
-- that was ever saved costs; and that of which it is known that the log has it no more. An entry
-- of the log has the ID 'seq-cost', and the fields m, 3 numbers, the second and third of those as
-- they were before it, and when it was created, in milliseconds; and p, the publication. Numbers
-- are doubles, big-endian: to write and read them as text would be most of what scripts do.
local maxbytes, maxlen, ttl = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = 0
if ttl > 0 then
	local t = redis.call('TIME')
	now = t[1] * 1000 + math.floor(t[2] / 1000)
end

local function int(n) return string.format('%.0f', n) end

-- open reads a group. epoch and seq are what somebody has seen of its order.
local function open(order, log, epoch, seq)
	local g = {order = order, log = log}
	local state = redis.call('GET', order)
	if state then
		g.epoch, g.seq, g.saved, g.total, g.base = struct.unpack('>c16dddd', state)
	end
	if not g.epoch or g.epoch == epoch and g.seq < tonumber(seq) then
		-- There is no order, or only an older state of it: the engine lost what came since.
		g.epoch, g.seq, g.saved, g.total, g.base = ARGV[1], 0, 0, 0, 0
		redis.call('DEL', log)
	end
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

-- keep writes what open read.
local function keep(g)
	redis.call('SET', g.order, struct.pack('>c16dddd', g.epoch, g.seq, g.saved, g.total, g.base), 'PX', ARGV[5])
	if ttl == 0 and g.total > g.base then redis.call('PEXPIRE', g.log, ARGV[5]) end
end
