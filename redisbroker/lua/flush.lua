redis.call('DEL', log)
bytes, lost, len = 0, saved, 0
keep()
return {epoch, int(seq)}
