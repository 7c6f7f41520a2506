-- ARGV, from 8 on: the publication; what it costs in the history, 0: do not save it; when it
-- was created, in milliseconds; PUBLISH or SPUBLISH; the channel.
seq = seq + 1
local data, cost, created, isSaved = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10]), 0
if cost > 0 and cost <= maxbytes then
	fit(1, cost)
	redis.call('XADD', log, int(seq) .. '-' .. ARGV[9], 'c', ARGV[10], 'p', data)
	len, bytes, saved, isSaved = len + 1, bytes + cost, seq, 1
	if ttl > 0 then redis.call('PEXPIRE', log, int(created + ttl - now)) end
end
keep()
redis.call(ARGV[11], ARGV[12], 'p' .. epoch .. isSaved .. int(seq) .. ' ' .. data)
return {epoch, int(seq), isSaved}
