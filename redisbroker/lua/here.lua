#!lua
-- KEYS: who is present in a group. ARGV: PUBLISH or SPUBLISH, the channel, what to publish,
-- how long it is retained; then for each entry its field and its value, '': it is gone.
for i = 5, #ARGV, 2 do
	if ARGV[i + 1] == '' then
		redis.call('HDEL', KEYS[1], ARGV[i])
	else
		redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
	end
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call(ARGV[1], ARGV[2], ARGV[3])
return {}
