-- KEYS: the group. ARGV, from 2 on: an epoch and a seq that somebody has seen; the epoch and seq
-- of After, or twice ''; how many, 0: all. Returns the group's epoch and last Seq, the last Seq that
-- was saved and is lost, entries, and 1 if there was something that no broker wrote.
local g = open(KEYS[1], ARGV[2], ARGV[3])
if maxlen > 0 then redis.call('XTRIM', g.log, 'MAXLEN', maxlen) end
fit(g, 0)
local _, lost = oldest(g)
keep(g)
local from, last = '-', tonumber(ARGV[6])
if ARGV[4] == g.epoch and tonumber(ARGV[5]) < g.next then from = int(tonumber(ARGV[5]) + 1) .. '-0' end
local entries
if last > 0 then
	entries = redis.call('XREVRANGE', g.log, '+', from, 'COUNT', last)
else
	entries = redis.call('XRANGE', g.log, from, '+')
end
return {g.epoch, int(g.next - 1), int(lost or g.saved), entries, g.junk and 1 or 0}
