"""Ray Serve deployments around Node.js processes that transcribe: they supervise, pass bytes on, translate errors."""
