"""Parts of the load test that locustfile.py puts together."""
