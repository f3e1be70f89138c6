"""What Adaptive Cards 1.4 allow of the elements that are used here (adaptivecards.io/schemas/1.4.0), and nothing else.

Stricter than the original: an element that we do not use is an error, for its texts may be Markdown.
"""

from typing import Any

_SPACING = {"enum": ["default", "none", "small", "medium", "large", "extraLarge", "padding"]}
_TEXT_RUN: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "text"],
    "properties": {
        "type": {"const": "TextRun"},
        "text": {"type": "string"},
        "color": {"enum": ["default", "dark", "light", "accent", "good", "warning", "attention"]},
        "fontType": {"enum": ["default", "monospace"]},
        "isSubtle": {"type": "boolean"},
        "size": {"enum": ["default", "small", "medium", "large", "extraLarge"]},
        "weight": {"enum": ["default", "lighter", "bolder"]},
    },
}
_RICH_TEXT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "inlines"],
    "properties": {
        "type": {"const": "RichTextBlock"},
        "inlines": {"type": "array", "items": _TEXT_RUN},
        "separator": {"type": "boolean"},
        "spacing": _SPACING,
    },
}
_CONTAINER: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "items"],
    "properties": {
        "type": {"const": "Container"},
        "items": {"type": "array", "items": _RICH_TEXT},
        "style": {"enum": ["default", "emphasis", "good", "attention", "warning", "accent"]},
        "bleed": {"type": "boolean"},
    },
}
_OPEN_URL: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "url"],
    "properties": {
        "type": {"const": "Action.OpenUrl"},
        "title": {"type": "string"},
        "url": {"type": "string", "pattern": "^https?://"},
    },
}
MESSAGE: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["type", "attachments"],
    "properties": {
        "type": {"const": "message"},
        "attachments": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["contentType", "content"],
                "properties": {
                    "contentType": {"const": "application/vnd.microsoft.card.adaptive"},
                    "contentUrl": {"type": "null"},
                    "content": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["type", "version", "body"],
                        "properties": {
                            "$schema": {"const": "http://adaptivecards.io/schemas/adaptive-card.json"},
                            "type": {"const": "AdaptiveCard"},
                            "version": {"const": "1.4"},
                            "body": {"type": "array", "items": {"anyOf": [_RICH_TEXT, _CONTAINER]}},
                            "actions": {"type": "array", "maxItems": 6, "items": _OPEN_URL},
                        },
                    },
                },
            },
        },
    },
}
