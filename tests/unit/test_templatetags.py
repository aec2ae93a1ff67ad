"""The template tag that makes the browser's client importable on a page."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.template import Context, RequestContext, Template
from django.test import RequestFactory

TEMPLATE = "{% load channels_demux_layer %}{% demux_script %}"
FILE = "channels_demux_layer/demultiplexer.js"
STATICFILES = "django.contrib.staticfiles"
MANIFEST = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
ELEMENTS = re.compile(
    r'<script type="importmap"( nonce="[^"<>]*")?>([^<>]*)</script>\n'
    r'<link rel="modulepreload"( nonce="[^"<>]*")? href="([^"<>]*)">'
)


@pytest.fixture(autouse=True)
def templates(settings: Any) -> None:
    """A project with templates, whose static files have a URL."""
    settings.TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
    settings.STATIC_URL = "/static/"


@pytest.fixture
def request_() -> HttpRequest:
    """A page's request.

    Returns:
        A request as the server makes it, before any middleware.
    """
    return RequestFactory().get("/")


def render(context: Context | None = None) -> tuple[str, str, str | None]:
    """Render the tag.

    Returns:
        The address in the import map, that of the link, and the nonce, which both have.
    """
    found = ELEMENTS.fullmatch(Template(TEMPLATE).render(context or Context()))
    assert found
    script_nonce, import_map, link_nonce, href = found.groups()
    assert script_nonce == link_nonce
    nonce = script_nonce and script_nonce.removeprefix(' nonce="').removesuffix('"')
    return json.loads(import_map)["imports"]["channels_demux_layer"], href, nonce


def test_without_staticfiles() -> None:
    """Where no app manages static files, the address is below STATIC_URL."""
    assert render() == (f"/static/{FILE}", f"/static/{FILE}", None)


def test_url_is_escaped(settings: Any) -> None:
    """An address with what HTML gives a meaning stays an address, in the map and in the link."""
    settings.STATIC_URL = "https://cdn.test/?a=1&b=</script><!--"
    source = Template(TEMPLATE).render(Context())
    assert source.count("</script>") == 1
    assert "<!--" not in source
    address, href, _ = render()
    assert address.startswith("https://cdn.test/")
    assert address.replace("&", "&amp;") == href


def test_collected_files_have_hashed_names(settings: Any, tmp_path: Path) -> None:
    """With collectstatic and a manifest, the address is that of the file under its hashed name."""
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, STATICFILES]
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": MANIFEST}}
    call_command("collectstatic", interactive=False, verbosity=0)
    address, href, _ = render()
    assert address == href
    assert re.fullmatch(r"/static/channels_demux_layer/demultiplexer\.[0-9a-f]{12}\.js", href)
    served = tmp_path / href.removeprefix("/static/")
    assert served.read_bytes() == (tmp_path / FILE).read_bytes()
    assert b"export class Demultiplexer" in served.read_bytes()


def test_without_a_policy(request_: HttpRequest) -> None:
    """Where no middleware makes a nonce, there is none."""
    assert render(RequestContext(request_))[2] is None


def test_nonce_of_django(request_: HttpRequest, settings: Any) -> None:
    """The nonce of Django's own middleware is used, and its policy then names it."""
    csp = pytest.importorskip("django.middleware.csp", reason="Django has it from 6.0 on.")
    settings.SECURE_CSP = {"script-src": ["<CSP_NONCE_SENTINEL>"]}
    nonces = []

    def page(request: HttpRequest) -> HttpResponse:
        nonces.append(render(RequestContext(request))[2])
        return HttpResponse()

    response = csp.ContentSecurityPolicyMiddleware(page)(request_)
    assert len(nonces[0] or "") > 16
    assert response["Content-Security-Policy"] == f"script-src 'nonce-{nonces[0]}'"


class Lazy:
    """A nonce as django-csp has it: false as long as nobody has used it."""

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return 'made"up'


@pytest.mark.parametrize("kind", [RequestContext, lambda request: Context({"request": request})])
def test_nonce_of_django_csp(request_: HttpRequest, kind: Any) -> None:
    """The nonce that django-csp leaves at the request is used, lazy as it is, and is escaped."""
    request_.csp_nonce = Lazy()  # type: ignore[attr-defined]
    assert render(kind(request_))[2] == "made&quot;up"


def test_nonce_of_the_context() -> None:
    """A nonce that a context processor has put into the context is used."""
    assert render(Context({"csp_nonce": "n"}))[2] == "n"


def test_a_page_without_request() -> None:
    """A context whose request is None, as that of an e-mail, has no nonce."""
    assert render(Context({"request": None, "csp_nonce": None}))[2] is None
