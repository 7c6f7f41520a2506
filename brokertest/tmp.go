package brokertest

var boxPromises []promise
var directPromises []promise
var cutPromises []promise
var outagePromises []promise
var outageBoxPromises []promise
