-- Publishes to some groups. KEYS: these. ARGV, from 2 on: PUBLISH or SPUBLISH; then for each
-- group: the epoch that its order is thought to have, by somebody who sees to it that it is
-- retained, or ''; how many publications; these, as they are sent; how many of them are to be
-- saved; and for each of those: its number, from 1 on; where it begins and ends; what it costs;
-- when it was created, in milliseconds. Returns for each group the place of its first
-- publication: Seq, if the epoch is the one that was thought of; else both, Seq as a double; or an
-- error: then none of its publications has been published.
local PUBLISH, at, places, rest = ARGV[2], 3, {}, nil

-- Where nothing is to be saved, and the epoch is the one that was thought of, this is all.
for k = 1, #KEYS do
	local key, epoch, first = KEYS[k], ARGV[at], 0
	if epoch ~= '' and ARGV[at + 3] == '0' then
		local next = redis.pcall('HINCRBY', key, epoch .. run, ARGV[at + 1])
		if type(next) == 'number' then first = next - ARGV[at + 1] end
		if first == 0 then redis.pcall('HDEL', key, epoch .. run) end -- there is no such order
	end
	if first > 0 then -- and nobody hears of it before
		local heard = redis.pcall(PUBLISH, key, 'p' .. epoch .. struct.pack('>d', first) .. ARGV[at + 2])
		places[k] = type(heard) == 'table' and heard or first
	else
		rest = rest or {}
		rest[k] = at
	end
	at = at + 4 + 5 * ARGV[at + 3]
end
if not rest then return places end
