"""Django settings of the test suite."""

SECRET_KEY = "tests"
USE_TZ = True
ALLOWED_HOSTS = ["*"]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "channels",
    "channels_postgres",
    "channels_demux_layer",
    "tests.people",
]

# Its migrations are PostgreSQL's; where its tables are used, `manage.py migrate` makes them.
MIGRATION_MODULES = {"channels_postgres": None}
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
