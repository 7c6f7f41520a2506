#!lua
-- KEYS: who is present in a group. ARGV: a node, and a run of it of which nothing is true.
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
	if string.sub(all[i], 17) == ARGV[1] and string.sub(all[i + 1], 1, #ARGV[2]) == ARGV[2] then
		redis.call('HDEL', KEYS[1], all[i])
	end
end
return {}
