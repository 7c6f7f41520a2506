-- ARGV, from 8 on: the epoch and seq of After, or twice ''; how many, 0: all.
fit(0, 0)
keep()
local from, last = '-', tonumber(ARGV[10])
if ARGV[8] == epoch and tonumber(ARGV[9]) <= seq then from = int(tonumber(ARGV[9]) + 1) .. '-0' end
local entries
if last > 0 then
	entries = redis.call('XREVRANGE', log, '+', from, 'COUNT', last)
else
	entries = redis.call('XRANGE', log, from, '+')
end
return {epoch, int(seq), int(lost), entries}
