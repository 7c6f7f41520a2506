-- ARGV, from 6 on: an epoch and a seq that somebody has seen; the epoch and seq of After, or
-- twice ''; how many, 0: all. KEYS: the group's order and log.
local g = open(KEYS[1], KEYS[2], ARGV[6], ARGV[7])
if maxlen > 0 then redis.call('XTRIM', g.log, 'MAXLEN', maxlen) end
fit(g, 0)
local _, lost = oldest(g)
keep(g)
local from, last = '-', tonumber(ARGV[10])
if ARGV[8] == g.epoch and tonumber(ARGV[9]) <= g.seq then from = int(tonumber(ARGV[9]) + 1) .. '-0' end
local entries
if last > 0 then
	entries = redis.call('XREVRANGE', g.log, '+', from, 'COUNT', last)
else
	entries = redis.call('XRANGE', g.log, from, '+')
end
return {g.epoch, int(g.seq), int(lost or g.saved), entries}
