// Package client sends usage events from an agent runtime to Panda. It promises
// the runtime two things: recording an event never waits for the network, and an
// event that Record took is counted exactly once, however often it is sent, or is
// handed back through OnError with the reason.
//
//	c, err := client.New(client.Config{
//		URL:      "https://panda.example.com",
//		APIKey:   os.Getenv("PANDA_API_KEY"),
//		Source:   "/runtime/eu-1",
//		SpoolDir: "/var/lib/agents/panda",
//	})
//	...
//	err = c.Record(client.Event{
//		Provider: "anthropic",
//		Model:    "claude-sonnet-4-5",
//		Agent:    "support",
//		Tokens:   schemas.Tokens{schemas.Input: 1200, schemas.Output: 340},
//	})
//	...
//	err = c.Close(ctx)
//
// An event gets its id (UUIDv7) and its time in Record, before anything else, and
// keeps both on every retry, so the server can tell a repeat from a new call. It
// goes into the spool first and to the server from there: the spool is the queue.
// Events leave in batches, when BatchEventsMax are waiting or the oldest has
// waited for FlushEvery, compressed, one batch at a time and in order.
//
// # What the server answers
//
//	accepted, duplicate     done
//	rejected, conflict      OnError gets a *RejectedError; sending it again would
//	                        change nothing
//	400, 422                the same, after a batch has been halved until it is
//	                        clear which events are meant
//	413                     the batch is halved
//	408, 425, 429, 5xx, no answer, an answer that accounts for fewer events:
//	                        the same bytes again, after an exponential backoff with
//	                        full jitter, or what Retry-After says
//	401, 403, 404 and the like:
//	                        the fault is the configuration's, not the events':
//	                        OnError gets a *RefusedError, the events stay, and the
//	                        next try is after BackoffMax
//
// # When things fail
//
// With SpoolDir, a process that dies loses nothing that Record took: the next
// Client on that directory sends what was not confirmed, with the same ids. What a
// power cut may take depends on Sync. A record torn by a crash is cut off, damage
// elsewhere is reported as ErrSpoolDamaged with the number of bytes; neither is
// passed over in silence. OnError may be told of the same event twice, when the
// process dies right after. Without SpoolDir the queue is in memory and dies with
// the process.
//
// When the queue is full, Record returns ErrSpoolFull at once: it neither blocks
// the agent nor drops an event silently, and Stats counts the refusals. What to do
// then is the runtime's decision; an alert is a good one.
package client
