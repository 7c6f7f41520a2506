-- What all scripts about groups start with, behind "#!lua" and the settings: local maxbytes,
-- maxlen, ttl (the history's limits: bytes, messages, milliseconds), retain (milliseconds),
-- durable. ARGV[1] is an epoch, should a group need one.
--
-- A group's order is a hash, whose key is the channel's name. One field is named by the order's
-- epoch and the run it is of, 16 characters each; its value is the next Seq. The other is h, of
-- the history; see group.lua.
--
-- The run is what Redis calls the replication ID: a server has another one whenever what it has
-- may be less than what a server has confirmed, as it has been started, or become a master.
local run = '----------------'
if not durable then
	local info = redis.call('INFO', 'replication')
	local _, before = string.find(info, 'master_replid:', 1, true)
	if not before then return redis.error_reply('ERR the server does not say its master_replid, so that nobody knows what it has lost') end
	run = string.sub(info, before + 1, before + 16)
end
