// Package spool is a log of opaque frames on disk, with any number of cursors,
// each of which reads it at its own pace and keeps books on what became of the
// items. It is what stands between collecting and sending: what is in it
// outlives the process, outages of vendors and, after a sync, the machine.
//
// The hub appends, one spool per kind of signal; each destination reads through
// a cursor of its own; collectors scan the newest frames at start, because the
// spool's tail is the agent's memory. The package calls nothing of ours, and
// does not know what a frame holds. FORMAT.md beside this file has the format,
// every state that a crash can leave, and the limits.
//
// What always holds:
//
//  1. When Append returns, the frame survives the death of the process; after
//     the next sync, that of the machine. While the disk takes nothing, frames
//     are kept in bounded memory, and Stats says so: the agent goes on.
//  2. For each cursor, In == Books.Sum() + Waiting, at every moment, also after
//     kill -9 and after a power cut: whatever goes missing is booked.
//  3. A frame is handed out until it is done: nothing is lost for want of an
//     acknowledgement. What is handed out again is counted in Books.Twice.
//  4. Numbers of frames are never given out twice.
//  5. What cannot be read is booked as damaged, passed over, and kept.
//  6. No state of the disk makes anything here panic, and none but an unusable
//     directory makes Open fail.
//  7. Open takes the same time whatever is spooled.
//
// A frame given to Append belongs to the caller again when it returns. A frame
// that Next returns is read-only and valid until its Done; small frames share
// pooled buffers. Each Spool has one goroutine, which syncs, deletes and tries a
// failed disk again; Close waits for it. Appending, reading and syncing do not
// wait for each other's I/O.
//
// The package does not compress, does not look into frames, does not retry for
// anybody, and deletes nothing that it could not read.
package spool
