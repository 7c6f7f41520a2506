package brokertest

var boxPromises []promise
var directPromises []promise
var outageBoxPromises []promise
