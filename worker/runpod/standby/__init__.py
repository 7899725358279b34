"""What the heartbeat process does for a worker that cannot answer itself: it stands still, or has crashed."""
