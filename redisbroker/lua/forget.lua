-- KEYS[3]: the groups of a node, all of which have been cleared. ARGV: the node, its run.
local ends = redis.call('ZSCORE', leases, ARGV[1])
if (not ends or tonumber(ends) <= now) and redis.call('HGET', runs, ARGV[1]) == ARGV[2] then
	redis.call('ZREM', leases, ARGV[1])
	redis.call('HDEL', runs, ARGV[1])
	redis.call('DEL', KEYS[3])
end
return {}
