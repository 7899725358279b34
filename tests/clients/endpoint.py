"""RunPod's Python client against a local API: ``endpoint.py WORKFLOW LONG_WORKFLOW``, RUNPOD_ENDPOINT_BASE_URL set."""

import json
import sys
import time

import runpod

workflow, long = (json.loads(text) for text in sys.argv[1:])
endpoint = runpod.Endpoint("any-endpoint", api_key="any-key")
seen = {"run_sync": endpoint.run_sync({"input": {"workflow": workflow}})}

job = endpoint.run({"workflow": workflow})
seen["output"] = job.output(timeout=30)
seen["status"] = job.status()
seen["stream"] = list(job.stream())

running = endpoint.run({"input": {"workflow": long}})
waiting = endpoint.run({"input": {"workflow": long}})
while running.status() != "IN_PROGRESS":
    time.sleep(0.05)
seen["progress"] = running.rp_client.get(f"any-endpoint/status/{running.job_id}")
seen["health"] = endpoint.health()
seen["purge_queue"] = endpoint.purge_queue()
seen["purged"] = waiting.status()
seen["cancel"] = running.cancel()
seen["cancelled"] = running.status()
print(json.dumps(seen))
