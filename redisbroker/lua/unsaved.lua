#!lua
-- The start of publish.lua: most of what is published is not saved, and costs the engine no
-- more than it must. Where there is no order, or only an older state of it, the rest sees to it.
if ARGV[9] == '0' then
	local m = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'bytes')
	if m[1] and not (m[1] == ARGV[6] and tonumber(m[2]) < tonumber(ARGV[7])) then
		local seq = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'seq', 1))
		redis.call('PEXPIRE', KEYS[1], ARGV[5])
		if m[3] ~= '0' and ARGV[4] == '0' then redis.call('PEXPIRE', KEYS[2], ARGV[5]) end
		redis.call(ARGV[11], ARGV[12], 'p' .. m[1] .. '0' .. seq .. ' ' .. ARGV[8])
		return {m[1], seq, 0}
	end
end
