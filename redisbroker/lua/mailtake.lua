#!lua
-- KEYS: a mailbox, the bytes in it.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local all, young = redis.call('LRANGE', KEYS[1], 0, -1), {}
redis.call('DEL', KEYS[1], KEYS[2])
for _, m in ipairs(all) do
	local e, rest = string.match(m, '^(%d+) %d+ ()')
	if not e then
		young[#young + 1] = '' -- no broker put that here: whoever reads it tells
	elseif tonumber(e) > now then
		young[#young + 1] = string.sub(m, rest)
	end
end
return young
