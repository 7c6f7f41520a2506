#!lua
-- What all scripts about a group start with. ARGV: 1 an epoch, should it need one; 2 to 4 the
-- history's limits: bytes, messages, milliseconds; 5 how long it is retained, in milliseconds;
-- 6 and 7 an epoch and a seq that somebody has seen.
local order, log = KEYS[1], KEYS[2]
local maxbytes, maxlen, ttl = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = 0
if ttl > 0 then
	local t = redis.call('TIME')
	now = t[1] * 1000 + math.floor(t[2] / 1000)
end

local function int(n) return string.format('%.0f', n) end

local m = redis.call('HMGET', order, 'epoch', 'seq', 'saved', 'lost', 'bytes')
local epoch, seq = m[1], tonumber(m[2] or 0)
local saved, lost, bytes = tonumber(m[3] or 0), tonumber(m[4] or 0), tonumber(m[5] or 0)
local len = redis.call('XLEN', log)

if not epoch or epoch == ARGV[6] and seq < tonumber(ARGV[7]) then
	-- There is no order, or only an older state of it: the engine lost what came since.
	epoch, seq, saved, lost, bytes, len = ARGV[1], 0, 0, 0, 0, 0
	redis.call('DEL', log)
elseif len == 0 then -- perhaps because the log has expired, or the engine let it go
	lost, bytes = saved, 0
end

-- fit removes the oldest until count more messages that cost that much fit.
local function fit(count, cost)
	while len > 0 do
		local room = bytes + cost <= maxbytes and (maxlen == 0 or len + count <= maxlen)
		if room and ttl == 0 then return end
		local e = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
		if room and tonumber(e[2][2]) + ttl > now then return end
		redis.call('XDEL', log, e[1])
		local s, c = string.match(e[1], '^(%d+)-(%d+)$')
		len, bytes, lost = len - 1, bytes - tonumber(c), math.max(lost, tonumber(s))
	end
end

-- keep writes what has changed.
local function keep()
	redis.call('HSET', order, 'epoch', epoch, 'seq', int(seq), 'saved', int(saved), 'lost', int(lost), 'bytes', int(bytes))
	redis.call('PEXPIRE', order, ARGV[5])
	if ttl == 0 and len > 0 then redis.call('PEXPIRE', log, ARGV[5]) end
end
