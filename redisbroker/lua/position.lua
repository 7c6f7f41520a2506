keep()
return {epoch, int(seq)}
