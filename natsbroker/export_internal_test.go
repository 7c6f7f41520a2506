package natsbroker

// Token is token.
func Token(name string) string { return token(name) }
