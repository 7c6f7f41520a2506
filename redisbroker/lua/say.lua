-- KEYS[3]: the groups that a node has said something of. ARGV: the node, a token, a group,
-- how long all is retained. Returns the node's run.
redis.call('HSETNX', runs, ARGV[1], ARGV[2])
redis.call('SADD', KEYS[3], ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[4])
redis.call('PEXPIRE', runs, ARGV[4])
return {redis.call('HGET', runs, ARGV[1])}
