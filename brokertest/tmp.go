package brokertest

var directPromises []promise
var outageBoxPromises []promise
