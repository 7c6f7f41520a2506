package contestant

// All returns the contestants in the order in which tables show them. The last
// two take part in one scenario each.
func All() []Contestant {
	return []Contestant{
		floor,
		inEventMode,
		melodyRooms,
		gwsBroadcaster,
		centrifugeNode,
		gorillaChat,
		gorillaPrepared,
		coderChat,
		withHandler,
		centrifugeExperimental,
	}
}

// buffer returns how many messages a member's buffer holds that has room for usual of
// them where a library, or the example in its documentation, is left as it is.
func (c Config) buffer(usual int) int {
	if c.Limit {
		return usual
	}
	return max(usual, c.Window)
}

// queueBytes is buffer in bytes. each is what a message takes on top of its payload.
func (c Config) queueBytes(usual, each int) int {
	if c.Limit {
		return usual
	}
	return max(usual, c.Window*(c.MaxMessage+each))
}
