-- ARGV: the node, its lease in milliseconds, a token, how long all is retained. Returns the
-- nodes that live, and, each with its run, those that do not, and of this one what has ended.
local node, dead, alive = ARGV[1], {}, {}
local ends = redis.call('ZSCORE', leases, node)
if ends and tonumber(ends) <= now then
	dead = {node, redis.call('HGET', runs, node) or ''}
	redis.call('HSET', runs, node, ARGV[3])
else
	redis.call('HSETNX', runs, node, ARGV[3])
end
redis.call('ZADD', leases, string.format('%.0f', now + ARGV[2]), node)
local all = redis.call('ZRANGE', leases, 0, -1, 'WITHSCORES')
for i = 1, #all, 2 do
	if tonumber(all[i + 1]) > now then
		alive[#alive + 1] = all[i]
	else
		dead[#dead + 1] = all[i]
		dead[#dead + 1] = redis.call('HGET', runs, all[i]) or ''
	end
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[4]) end
return {alive, dead}
