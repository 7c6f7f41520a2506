#!lua
-- Publishes some publications, in order. ARGV: 1 an epoch, should a group need one; 2 to 4 the
-- history's limits: bytes, messages, milliseconds; 5 how long a group is retained, in
-- milliseconds; 6 PUBLISH or SPUBLISH; then for each publication: an epoch and a seq that
-- somebody has seen; itself; what it costs in the history, 0: do not save it; when it was
-- created, in milliseconds; its channel. KEYS: for each, its group's order and log.
local maxbytes, maxlen, ttl = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local groups, all, out, now = {}, {}, {}, 0
if ttl > 0 then
	local t = redis.call('TIME')
	now = t[1] * 1000 + math.floor(t[2] / 1000)
end
local function int(n) return string.format('%.0f', n) end

local function fit(g, cost)
	while g.len > 0 do
		local room = g.bytes + cost <= maxbytes and (maxlen == 0 or g.len < maxlen)
		if room and ttl == 0 then return end
		local e = redis.call('XRANGE', g.log, '-', '+', 'COUNT', 1)[1]
		if room and tonumber(e[2][2]) + ttl > now then return end
		redis.call('XDEL', g.log, e[1])
		local s, c = string.match(e[1], '^(%d+)-(%d+)$')
		g.len, g.bytes, g.lost = g.len - 1, g.bytes - tonumber(c), math.max(g.lost, tonumber(s))
	end
end

for i = 1, #KEYS / 2 do
	local order, a = KEYS[2 * i - 1], 6 * i
	local g = groups[order]
	if not g then
		local m = redis.call('HMGET', order, 'epoch', 'seq', 'saved', 'lost', 'bytes')
		g = {order = order, log = KEYS[2 * i], epoch = m[1], seq = tonumber(m[2] or 0),
			saved = tonumber(m[3] or 0), lost = tonumber(m[4] or 0), bytes = tonumber(m[5] or 0)}
		groups[order] = g
		all[#all + 1] = g
	end
	if not g.epoch or g.epoch == ARGV[a + 1] and g.seq < tonumber(ARGV[a + 2]) then
		-- There is no order, or only an older state of it: the engine lost what came since.
		g.epoch, g.seq, g.saved, g.lost, g.bytes, g.len, g.whole = ARGV[1], 0, 0, 0, 0, 0, true
		redis.call('DEL', g.log)
	end
	g.seq = g.seq + 1
	local cost, saved = tonumber(ARGV[a + 4]), 0
	if cost > 0 and cost <= maxbytes then
		if not g.len then
			g.len = redis.call('XLEN', g.log)
			if g.len == 0 then g.lost, g.bytes = g.saved, 0 end
		end
		fit(g, cost)
		redis.call('XADD', g.log, int(g.seq) .. '-' .. ARGV[a + 4], 'c', ARGV[a + 5], 'p', ARGV[a + 3])
		g.len, g.bytes, g.saved, g.whole, saved = g.len + 1, g.bytes + cost, g.seq, true, 1
		if ttl > 0 then redis.call('PEXPIRE', g.log, int(tonumber(ARGV[a + 5]) + ttl - now)) end
	end
	out[3 * i - 2], out[3 * i - 1], out[3 * i] = g.epoch, int(g.seq), saved
end
for _, g in ipairs(all) do -- before anybody hears of it
	if g.whole then
		redis.call('HSET', g.order, 'epoch', g.epoch, 'seq', int(g.seq), 'saved', int(g.saved), 'lost', int(g.lost), 'bytes', int(g.bytes))
	else
		redis.call('HSET', g.order, 'seq', int(g.seq))
	end
	redis.call('PEXPIRE', g.order, ARGV[5])
	if ttl == 0 and g.bytes > 0 then redis.call('PEXPIRE', g.log, ARGV[5]) end
end
for i = 1, #KEYS / 2 do
	local a = 6 * i
	redis.call(ARGV[6], ARGV[a + 6], 'p' .. out[3 * i - 2] .. out[3 * i] .. out[3 * i - 1] .. ' ' .. ARGV[a + 3])
end
return out
