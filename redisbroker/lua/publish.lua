-- Publishes to some groups. ARGV, from 6 on: PUBLISH or SPUBLISH; then for each group: an epoch
-- and a seq that somebody has seen of it; its channel; how many publications; these, as they
-- are sent; how many of them are to be saved; and for each of those: its number, from 1 on; where
-- it begins and ends; what it costs; when it was created, in milliseconds. KEYS: for each group
-- its order and log. Returns for each the place before its first publication, epoch and seq, a
-- double, or an error: then none of its publications has been published.
local at = 7

local function publish(k)
	local g = open(KEYS[k], KEYS[k + 1], ARGV[at], ARGV[at + 1])
	local before, sent, expires = g.seq, ARGV[at + 4], 0
	for i = at + 6, at + 1 + 5 * ARGV[at + 5], 5 do
		local seq, cost, created = before + ARGV[i], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
		fit(g, cost)
		local id, m = int(seq) .. '-' .. ARGV[i + 3], struct.pack('>ddd', g.saved, g.total, created)
		local p = string.sub(sent, ARGV[i + 1], ARGV[i + 2])
		if maxlen > 0 then
			redis.call('XADD', g.log, 'MAXLEN', maxlen, id, 'm', m, 'p', p)
		else
			redis.call('XADD', g.log, id, 'm', m, 'p', p)
		end
		g.saved, g.total, expires = seq, g.total + cost, math.max(expires, created + ttl)
	end
	if ttl > 0 and g.saved > before then -- not before what is in it already: nodes' clocks differ
		redis.call('PEXPIRE', g.log, int(math.max(redis.call('PTTL', g.log), expires - now)))
	end
	g.seq = before + ARGV[at + 3]
	keep(g) -- before anybody hears of it
	local place = g.epoch .. struct.pack('>d', before)
	redis.call(ARGV[6], ARGV[at + 2], 'p' .. place .. sent)
	return place
end

local places = {}
for k = 1, #KEYS, 2 do
	local ok, place = pcall(publish, k) -- one that fails is no other's business
	if not ok then place = {err = type(place) == 'table' and place.err or tostring(place)} end
	places[#places + 1] = place
	at = at + 6 + 5 * ARGV[at + 5]
end
return places
