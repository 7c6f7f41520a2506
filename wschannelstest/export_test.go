package wschannelstest

import "net"

// NewPipe is for pipe_test.go; users get a pipe by Dial only.
func NewPipe() (client, server net.Conn) { return newPipe() }

// PipeBuffer is how many bytes one direction of a pipe holds.
const PipeBuffer = pipeBuffer
