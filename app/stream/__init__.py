"""Recoverable publish/subscribe: channel, epoch, offset, snapshot, bounded backlog, `Resync`.

Knows no channel's meaning: payloads and snapshot values are bytes. Words are Centrifugo's.
"""
