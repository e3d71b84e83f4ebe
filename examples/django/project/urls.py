from django.urls import path
from django.views.static import serve
from guestbook import views

urlpatterns = [
    path("", views.index),
    path("upload", views.upload),
    path("stream", views.stream),
    # One file, for the example; a real site leaves static files to nginx or a CDN.
    path("static/<path:path>", serve, {"document_root": views.STATIC}),
]
