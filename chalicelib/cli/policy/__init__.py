"""Commands about the policy and its exceptions: `lazaretto policy`, `waive`, `unwaive` and `waivers`.

No rule is applied here: the API judges, and `services/policy` puts a policy in force. Begin with `policy.py`.
"""
