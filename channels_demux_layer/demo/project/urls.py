"""The demo's HTTP URLs."""

from django.urls import path

from channels_demux_layer.demo.project import views

urlpatterns = [path("", views.page), path("healthz", views.healthz)]
