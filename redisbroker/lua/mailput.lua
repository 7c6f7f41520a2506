#!lua
-- KEYS: a mailbox, the bytes in it. ARGV: the limits, bytes and milliseconds; '1': at the
-- front; then for each message when it was created, in milliseconds, what it costs, itself.
local box, size = KEYS[1], KEYS[2]
local maxbytes, ttl, front = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local before = redis.call('LLEN', box)
local bytes = before > 0 and tonumber(redis.call('GET', size) or 0) or 0

local fit, lost = {}, 0
for i = 4, #ARGV, 3 do
	if tonumber(ARGV[i + 1]) <= maxbytes then
		bytes = bytes + tonumber(ARGV[i + 1])
		fit[#fit + 1] = string.format('%.0f', ARGV[i] + ttl) .. ' ' .. ARGV[i + 1] .. ' ' .. ARGV[i + 2]
	else
		lost = lost + 1
	end
end
if front then
	for i = #fit, 1, -1 do redis.call('LPUSH', box, fit[i]) end
else
	for i = 1, #fit do redis.call('RPUSH', box, fit[i]) end
end

local gone, expires = 0, 0
while true do
	local oldest = redis.call('LINDEX', box, 0)
	if not oldest then break end
	local e, c = string.match(oldest, '^(%d+) (%d+) ')
	if e and bytes <= maxbytes and tonumber(e) > now then break end
	redis.call('LPOP', box)
	gone, bytes = gone + 1, bytes - (tonumber(c) or 0) -- c is nil if no broker put that here
end
lost = lost + gone
if redis.call('LLEN', box) == 0 then
	redis.call('DEL', box, size)
else
	redis.call('SET', size, string.format('%.0f', bytes))
	local newest = string.match(redis.call('LINDEX', box, -1), '^%d+') or string.format('%.0f', now + ttl)
	redis.call('PEXPIREAT', box, newest)
	redis.call('PEXPIREAT', size, newest)
end
if not front then gone = math.max(0, gone - before) end
return {math.max(0, #fit - gone), lost}
