local alive = {}
for _, node in ipairs(redis.call('ZRANGEBYSCORE', leases, '(' .. string.format('%.0f', now), '+inf')) do
	alive[#alive + 1] = node
	alive[#alive + 1] = redis.call('HGET', runs, node) or ''
end
return alive
