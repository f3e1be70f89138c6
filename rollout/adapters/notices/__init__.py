"""Telling people: Slack, Teams, webhooks, Alertmanager and PagerDuty, from the outbox of each release."""
