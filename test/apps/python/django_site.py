"""A site in Django with one form, as django-admin makes it: with its checks of Host, and of the Origin of forms."""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=os.environ["ALLOWED_HOSTS"].split(","),
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https") if "BELIEVE_PROXY" in os.environ else None,
    SECRET_KEY="of this test",
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
)


def form(request):
    if request.method == "POST":
        return HttpResponse(f"hello {request.POST['name']}")
    return HttpResponse(f'<input name="csrfmiddlewaretoken" value="{get_token(request)}">')


urlpatterns = [path("form/", form)]
application = get_asgi_application()
