package natsbroker

// Token is token.
func Token(name string) string { return token(name) }

// OfferSubject is where b takes offers.
func OfferSubject(b *Broker) string { return b.offerSubject(b.node) }

// Outrun has b believe that another node has just outrun it in group.
func Outrun(b *Broker, group string) {
	t, err := b.pin(group)
	if err != nil {
		panic(err)
	}
	defer t.unpin()
	t.setOutran(true)
}
