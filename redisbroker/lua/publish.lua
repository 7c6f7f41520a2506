-- Publishes to some groups. KEYS: these. ARGV, from 2 on: PUBLISH or SPUBLISH; then for each
-- group: the epoch that its order is thought to have, by somebody who sees to it that it is
-- retained, or ''; how many publications; these, as they are sent; how many of them are to be
-- saved; and for each of those: its number, from 1 on; where it begins and ends; what it costs;
-- when it was created, in milliseconds. Returns for each group the place of its first
-- publication: Seq, if the epoch is the one that was thought of; else both, Seq as a double; or an
-- error: then none of its publications has been published.
local PUBLISH, at = ARGV[2], 3

-- save saves what is to be saved of what is sent, whose first has the place first.
local function save(g, first, sent)
	local expires = 0
	for i = at + 4, at + 3 + 5 * ARGV[at + 3], 5 do
		local seq, cost, created = first - 1 + ARGV[i], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
		fit(g, cost)
		local id, m = int(seq) .. '-' .. ARGV[i + 3], struct.pack('>ddd', g.saved, g.total, created)
		local p = string.sub(sent, ARGV[i + 1], ARGV[i + 2])
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

local function publish(key)
	local epoch, n, sent = ARGV[at], ARGV[at + 1], ARGV[at + 2]
	local first, g = 0, nil
	if epoch ~= '' then
		first = redis.call('HINCRBY', key, epoch .. run, n) - n
		if first == 0 then redis.call('HDEL', key, epoch .. run) end -- there is no such order
	end
	if first == 0 then
		g = open(key, '', 0)
		first, epoch = g.next, g.epoch
		redis.call('HINCRBY', key, epoch .. run, n)
	end
	if ARGV[at + 3] ~= '0' then save(g or history(key, redis.call('HGET', key, 'h')), first, sent) end
	local place = struct.pack('>d', first)
	redis.call(PUBLISH, key, 'p' .. epoch .. place .. sent) -- at last: nobody hears of what is not done
	return g and epoch .. place or first
end

local places = {}
for k = 1, #KEYS do
	local ok, place = pcall(publish, KEYS[k]) -- one that fails is no other's business
	if not ok then place = {err = type(place) == 'table' and place.err or tostring(place)} end
	places[k] = place
	at = at + 4 + 5 * ARGV[at + 3]
end
return places
