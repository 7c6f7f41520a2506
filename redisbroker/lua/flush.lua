-- KEYS: the group. ARGV, from 2 on: an epoch and a seq that somebody has seen.
local g = open(KEYS[1], ARGV[2], ARGV[3])
redis.call('DEL', g.log)
g.base = g.total
keep(g)
return {g.epoch, int(g.next - 1)}
