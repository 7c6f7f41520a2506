-- KEYS: the group. ARGV, from 2 on: an epoch and a seq that somebody has seen.
local g = open(KEYS[1], ARGV[2], ARGV[3])
return {g.epoch, int(g.next - 1)}
