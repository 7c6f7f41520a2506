-- The rest of publish: what fast.lua leaves over.

-- save saves what is to be saved of what ARGV has from at on, whose first has the place first.
local function save(g, at, first)
	local expires = 0
	for i = at + 4, at + 3 + 5 * ARGV[at + 3], 5 do
		local seq, cost, created = first - 1 + ARGV[i], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
		fit(g, cost)
		local id, m = int(seq) .. '-' .. ARGV[i + 3], struct.pack('>ddd', g.saved, g.total, created)
		local p = string.sub(ARGV[at + 2], ARGV[i + 1], ARGV[i + 2])
		local len = maxlen > 0 and maxlen or 2 ^ 53
		if not redis.call('XADD', g.log, 'NOMKSTREAM', 'MAXLEN', len, id, 'm', m, 'p', p) then
			redis.call('XADD', g.log, id, 'm', m, 'p', p)
			if ttl == 0 then redis.call('PEXPIRE', g.log, retain) end
		end
		g.saved, g.total, expires = seq, g.total + cost, math.max(expires, created + ttl)
	end
	if ttl > 0 then -- not before what is in it already: nodes' clocks differ
		redis.call('PEXPIRE', g.log, int(math.max(redis.call('PTTL', g.log), expires - now)))
	end
	keep(g)
end

local function publish(key, at)
	local epoch, n, first, g = ARGV[at], ARGV[at + 1], 0, nil
	if epoch ~= '' and ARGV[at + 3] ~= '0' then
		first = redis.call('HINCRBY', key, epoch .. run, n) - n
		if first == 0 then redis.call('HDEL', key, epoch .. run) end
	end
	if first == 0 then
		g = open(key, '', 0)
		first, epoch = g.next, g.epoch
		redis.call('HINCRBY', key, epoch .. run, n)
	end
	if ARGV[at + 3] ~= '0' then save(g or history(key, redis.call('HGET', key, 'h')), at, first) end
	local place = struct.pack('>d', first)
	redis.call(PUBLISH, key, 'p' .. epoch .. place .. ARGV[at + 2])
	return g and epoch .. place or first
end

for k, at in pairs(rest) do
	local ok, place = pcall(publish, KEYS[k], at) -- one that fails is no other's business
	if not ok then place = {err = type(place) == 'table' and place.err or tostring(place)} end
	places[k] = place
end
return places
