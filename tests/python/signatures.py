# What the package makes of signatures: which headers it believes, and what it signs.
import json
import sys
import time

import stripe

given = json.load(sys.stdin)
time.time = lambda: given["now"]


def believes(case):
    for secret in case["secrets"]:
        try:
            stripe.Webhook.construct_event(case["body"], case["header"], secret)
        except stripe.SignatureVerificationError:
            continue
        return True
    return False


def signed(case):
    sign = stripe.WebhookSignature.generate_signature_header
    return sign(case["body"], case["secret"], case["at"])


json.dump(
    {
        "believed": [believes(case) for case in given["cases"]],
        "signed": [signed(case) for case in given["to_sign"]],
    },
    sys.stdout,
)
