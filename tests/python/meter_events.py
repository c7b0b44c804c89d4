# What the package sends for meter events, and what it takes answers for: against a server of its own on this machine.
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import stripe
from stripe import billing

given = json.load(sys.stdin)
asked, answers = [], []


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked.append({"path": self.path, "headers": headers, "body": body})
        status, headers, text = answers.pop() if answers else (200, {}, '{"object": "billing.meter_event"}')
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
stripe.api_base = f"http://127.0.0.1:{server.server_port}"
stripe.api_key = given["key"]
stripe.max_network_retries = 0
stripe.enable_telemetry = False

billing.MeterEvent.create(**given["event"])
billing.MeterEventAdjustment.create(**given["adjustment"])
sent, said = list(asked), []
for status, headers, text in given["answers"]:
    answers.append((status, headers, text))
    try:
        billing.MeterEvent.create(**given["event"])
        said.append("taken")
    except stripe.StripeError as error:
        said.append(type(error).__name__)
server.shutdown()
json.dump({"sent": sent, "said": said, "version": stripe.api_version}, sys.stdout)
