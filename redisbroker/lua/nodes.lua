#!lua
-- What all scripts about nodes start with. KEYS: when leases end, by node; in which run of
-- its lease each node is, a token: what it said in an earlier one is not true any more.
local leases, runs = KEYS[1], KEYS[2]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
