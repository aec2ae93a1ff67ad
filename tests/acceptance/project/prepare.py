"""Makes the database of a site: `python -m tests.acceptance.project.prepare`."""

import json

import django
from django.core.management import call_command


def main() -> None:
    """Creates the tables, a user and her session, and prints what a client has to know."""
    django.setup()
    call_command("migrate", verbosity=0)

    from django.contrib.auth import (
        BACKEND_SESSION_KEY,
        HASH_SESSION_KEY,
        SESSION_KEY,
        get_user_model,
    )
    from django.contrib.sessions.backends.db import SessionStore

    user = get_user_model().objects.create_user("ada", "ada@example.org", "secret")
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session["colour"] = "green"
    session.save()
    print(json.dumps({"session": session.session_key}))


if __name__ == "__main__":
    main()
