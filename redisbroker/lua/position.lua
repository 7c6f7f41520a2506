-- ARGV, from 6 on: an epoch and a seq that somebody has seen. KEYS: the group's order and log.
local g = open(KEYS[1], KEYS[2], ARGV[6], ARGV[7])
keep(g)
return {g.epoch, int(g.seq)}
