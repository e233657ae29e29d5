// Package oracle sends the requests that the pusher makes to stripe-mock first, Stripe's
// own stand-in that knows the OpenAPI document of an API version and nothing else, and
// then to the fake that keeps state. So the shape of each request, the names and types of
// its parameters, is judged by Stripe's document and not by ours.
//
// It is a module of its own, because stripe-mock brings libraries that nobody else needs:
// go test ./... in this folder.
package oracle
